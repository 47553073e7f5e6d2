/** Checks of what `workerPool` is given: a misspelt limit would be no limit, and a wrong one found out when a worker dies. */
import { pathToFileURL } from "node:url";
import { brokerError } from "./wire-error.js";

/** Throws `ERR_INVALID_OPTION` for what is no option, or of the wrong kind. */
export function checkPoolOptions(options: object, known: object): void {
  for (const name of Object.keys(options)) {
    if (!Object.hasOwn(known, name)) {
      throw invalid(name, `workerPool has no option "${name}"; known are ${Object.keys(known).join(", ")}`);
    }
  }
  const { key, restart, idleTimeout } = options as { readonly [name: string]: unknown };
  if (key !== undefined && key !== null && typeof key !== "function") {
    throw invalid("key", "option key must be a function of the message, or null");
  }
  if (restart !== undefined && typeof restart !== "function") {
    throw invalid(
      "restart",
      "option restart must be a function from the number of deaths in a row to milliseconds, such as exponentialBackoff({ initial: 100, max: 30_000 })",
    );
  }
  if (idleTimeout !== undefined && !(typeof idleTimeout === "number" && idleTimeout > 0)) {
    throw invalid("idleTimeout", "option idleTimeout must be more than 0 milliseconds");
  }
}

/** The URL of a worker's module, which may be given as a path. */
export function moduleUrl(module: unknown): string {
  if (module instanceof URL) return module.href;
  if (typeof module !== "string" || module === "") {
    throw invalid(
      "module",
      'the module of a workerPool must be a URL or a path, such as new URL("./job.js", import.meta.url)',
    );
  }
  return /^[a-z]+:/i.test(module) ? module : pathToFileURL(module).href;
}

function invalid(option: string, text: string): Error {
  return brokerError("ERR_INVALID_OPTION", text, { option });
}
