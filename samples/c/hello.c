/* The C twin of rust/hello-docker: the same words, arguments and exit statuses, so that one test fits every build. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    const char *greeting = getenv("GREETING");
    puts(greeting ? greeting : "Hello, Docker!");
    if (argc == 3 && strcmp(argv[1], "--exit") == 0)
        return atoi(argv[2]);
    for (int i = 1; i < argc; i++)
        printf("argument: %s\n", argv[i]);
    return 0;
}
