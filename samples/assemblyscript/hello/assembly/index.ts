// The AssemblyScript twin of rust/hello-docker: the same words, arguments and exit statuses.
const greeting = process.env.has("GREETING") ? process.env.get("GREETING") : "Hello, Docker!";
process.stdout.write(greeting + "\n");
const args = process.argv;
if (args.length == 3 && args[1] == "--exit") process.exit(<i32>parseInt(args[2]));
for (let i = 1; i < args.length; i++) process.stdout.write("argument: " + args[i] + "\n");
