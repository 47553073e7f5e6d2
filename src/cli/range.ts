import type { ReplayOptions } from "../persistence/replay.js";
import type { Context, OptionSpec } from "./command.js";
import { UsageError } from "./exit-code.js";

/** Which messages, for commands that hand some out. */
export const rangeOptions: Readonly<Record<string, OptionSpec>> = {
  from: {
    type: "string",
    value: "NUMBER|TIME",
    help: "the first message: its number, or a time as 2030-01-31T12:00:00Z",
  },
  to: { type: "string", value: "NUMBER|TIME", help: "the last message" },
  limit: { type: "string", value: "N", help: "at most so many messages" },
};

export function rangeOf(context: Context, defaultLimit?: number): ReplayOptions {
  const limit = context.number("limit", 1) ?? defaultLimit;
  const from = pointOf("from", context.text("from"));
  const to = pointOf("to", context.text("to"));
  return { ...(from && { from }), ...(to && { to }), ...(limit !== undefined && { limit }) };
}

function pointOf(name: string, text: string | undefined): { seq: number } | { time: number } | undefined {
  if (text === undefined) return undefined;
  if (/^\d+$/.test(text)) return { seq: Number(text) };
  const time = Date.parse(text);
  if (Number.isNaN(time))
    throw new UsageError(`--${name} must be a message's number or a time; got ${JSON.stringify(text)}`);
  return { time };
}
