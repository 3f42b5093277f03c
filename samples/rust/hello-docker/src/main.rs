use std::env;
use std::process::exit;

/// Greets, then shows what the image gave the program: its arguments and `GREETING`.
/// `--exit N` ends with that status, so that a runner's exit status can be checked.
fn main() {
    println!("{}", env::var("GREETING").unwrap_or_else(|_| "Hello, Docker!".to_string()));
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.len() == 2 && arguments[0] == "--exit" {
        exit(arguments[1].parse().unwrap_or(64));
    }
    for argument in arguments {
        println!("argument: {argument}");
    }
}
