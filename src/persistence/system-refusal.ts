import { BrokerError, brokerError } from "../errors.js";
import type { ErrorFacts } from "../errors.js";
import { levelProblem } from "./store/level-store.js";

/** Whether the system, or LevelDB, refused something: no room, no permission, a file that is not there. */
export function isSystemRefusal(error: unknown): error is Error {
  if (error instanceof BrokerError || !(error instanceof Error)) return false;
  return "syscall" in error || levelProblem(error) !== undefined;
}

/**
 * What the system refused in the broker's codes: `ERR_STORE_FULL` for want of room, `ERR_STORE_FAILED` for anything else.
 * Other errors come back as they are.
 *
 * @param what has not been done because of it, as the beginning of a sentence
 */
export function inOurCodes(error: unknown, what: string, facts: ErrorFacts): unknown {
  if (!isSystemRefusal(error)) return error;
  const code = levelProblem(error) === "full" ? "ERR_STORE_FULL" : "ERR_STORE_FAILED";
  return brokerError(code, `${what}: ${error.message}`, facts, error);
}
