import { BrokerError } from "../errors.js";

/** How the command ends: docs/cli.md has the table. */
export const exitCode = {
  ok: 0,
  /** The store, the backup or the file to import has something wrong with it. */
  problems: 1,
  usage: 2,
  locked: 3,
  key: 4,
  /** There is no store, a newer version wrote it, or the system refused. */
  failed: 5,
  full: 6,
} as const;

/** The command line was wrong. */
export class UsageError extends Error {}

/** The exit code that an error stands for. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof UsageError) return exitCode.usage;
  if (!(error instanceof BrokerError)) return exitCode.failed;
  switch (error.code) {
    case "ERR_INVALID_OPTION":
    case "ERR_INVALID_PATTERN":
      return exitCode.usage;
    case "ERR_STORE_LOCKED":
      return exitCode.locked;
    case "ERR_WRONG_KEY":
      return exitCode.key;
    case "ERR_STORE_FULL":
      return exitCode.full;
    case "ERR_STORE_CORRUPT":
    case "ERR_INVALID_MESSAGE":
    case "ERR_MESSAGE_TOO_LARGE":
      return exitCode.problems;
    default:
      return exitCode.failed;
  }
}
