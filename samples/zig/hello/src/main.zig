const std = @import("std");

/// The Zig twin of rust/hello-docker: the same words, arguments and exit statuses.
pub fn main(init: std.process.Init) !void {
    const args = try init.minimal.args.toSlice(init.arena.allocator());
    var buffer: [1024]u8 = undefined;
    var writer: std.Io.File.Writer = .init(.stdout(), init.io, &buffer);
    const out = &writer.interface;
    try out.print("{s}\n", .{init.environ_map.get("GREETING") orelse "Hello, Docker!"});
    if (args.len == 3 and std.mem.eql(u8, args[1], "--exit")) {
        try out.flush();
        std.process.exit(std.fmt.parseInt(u8, args[2], 10) catch 64);
    }
    for (args[1..]) |argument| try out.print("argument: {s}\n", .{argument});
    try out.flush();
}
