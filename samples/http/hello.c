/*
 * An HTTP component that answers every request with 200 and a greeting, written straight against the canonical ABI
 * of the component model: no WASI libc, no generated bindings, so that all of it can be read here.
 * The interfaces are declared in wit/; the flattened signatures follow the canonical ABI's rules.
 */
#include <stddef.h>
#include <stdint.h>

#define IMPORT(module, name) __attribute__((import_module(module), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))
#define TYPES "wasi:http/types@0.2.0"
#define STREAMS "wasi:io/streams@0.2.0"

typedef int32_t handle;

/* Where a result<handle> or result<_, error> is written: a discriminant byte (0 is ok), then the payload. */
typedef struct { uint8_t failed; handle value; _Alignas(8) uint8_t rest[56]; } result;

IMPORT(TYPES, "[constructor]fields") handle fields_new(void);
IMPORT(TYPES, "[constructor]outgoing-response") handle response_new(handle headers);
IMPORT(TYPES, "[method]outgoing-response.body") void response_body(handle response, result *out);
IMPORT(TYPES, "[method]outgoing-body.write") void body_write(handle body, result *out);
IMPORT(TYPES, "[static]outgoing-body.finish") void body_finish(handle body, int32_t has_trailers, handle trailers, result *out);
/* result<outgoing-response, error-code>: the error's variant joins i32 and i64 payloads, hence the seven spare slots. */
IMPORT(TYPES, "[static]response-outparam.set")
void outparam_set(handle outparam, int32_t failed, handle response, int32_t, int64_t, int32_t, int32_t, int32_t, int32_t);
IMPORT(TYPES, "[resource-drop]incoming-request") void request_drop(handle request);
IMPORT(STREAMS, "[method]output-stream.blocking-write-and-flush")
void stream_write(handle stream, const char *data, size_t length, result *out);
IMPORT(STREAMS, "[resource-drop]output-stream") void stream_drop(handle stream);

static const char GREETING[] = "Hello, Docker!\n";

static void expect(const result *outcome) {
    if (outcome->failed)
        __builtin_trap();
}

EXPORT("wasi:http/incoming-handler@0.2.0#handle") void serve(handle request, handle outparam) {
    result outcome;
    request_drop(request);
    handle response = response_new(fields_new());
    response_body(response, &outcome);
    expect(&outcome);
    handle body = outcome.value;
    /* The head is handed over before the body is written: a host may not read the body until it has the head. */
    outparam_set(outparam, 0, response, 0, 0, 0, 0, 0, 0);
    body_write(body, &outcome);
    expect(&outcome);
    handle stream = outcome.value;
    stream_write(stream, GREETING, sizeof GREETING - 1, &outcome);
    expect(&outcome);
    stream_drop(stream); /* a child of the body: it has to go first */
    body_finish(body, 0, 0, &outcome);
    expect(&outcome);
}

/* The host asks for room when it returns a string inside an error. Nothing is freed: an instance answers one request. */
EXPORT("cabi_realloc") void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
    static _Alignas(16) uint8_t room[4096];
    static size_t used;
    size_t start = (used + align - 1) & ~(align - 1);
    (void)old;
    if (old_size != 0 || size > sizeof room - start)
        __builtin_trap();
    used = start + size;
    return room + start;
}
