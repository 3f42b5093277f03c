// The JavaScript twin of rust/hello-docker. A component can say that it failed, and not with which status.
import { getArguments, getEnvironment } from "wasi:cli/environment@0.2.3";

export const run = {
  run() {
    const args = getArguments().slice(1);
    console.log(new Map(getEnvironment()).get("GREETING") ?? "Hello, Docker!");
    if (args.length === 2 && args[0] === "--exit") {
      if (args[1] !== "0") throw undefined;
      return;
    }
    for (const argument of args) console.log(`argument: ${argument}`);
  },
};
