import type { StoreOptions } from "../persistence/options.js";
import type { Progress } from "../platform/progress.js";

/** An option of the command line, in the form that `parseArgs` takes. */
export interface OptionSpec {
  readonly type: "string" | "boolean";
  readonly multiple?: boolean;
  /** What stands for its value in the help. */
  readonly value?: string;
  readonly help: string;
}

/** The command line, looked at; and what a command needs to do its work. */
export interface Context {
  readonly positionals: readonly string[];
  /** A text option that was given. */
  text(name: string): string | undefined;
  /** All values of an option that may be given more than once. */
  texts(name: string): readonly string[];
  flag(name: string): boolean;
  /** A whole number from `least`. Throws `UsageError`. */
  number(name: string, least: number): number | undefined;
  /** Folder and keys of the store; the folder is the first operand unless another is named. */
  store(path?: string): Promise<StoreOptions>;
  readonly isJson: boolean;
  /** The result: as JSON where that was asked for, and otherwise as text. */
  result(json: unknown, text: string): Promise<void>;
  out(text: string): Promise<void>;
  /** A line for people, on standard error. */
  note(text: string): void;
  readonly input: AsyncIterable<Uint8Array>;
  readonly onProgress: ((progress: Progress) => void) | undefined;
}

export interface Command {
  readonly name: string;
  /** In one line. */
  readonly summary: string;
  /** Operands as in `<store> [file]`; those in angle brackets must be given. */
  readonly operands: string;
  readonly details: string;
  readonly options: Readonly<Record<string, OptionSpec>>;
  readonly examples: readonly (readonly [line: string, comment: string])[];
  /** Resolves with the exit code. */
  run(context: Context): Promise<number>;
}
