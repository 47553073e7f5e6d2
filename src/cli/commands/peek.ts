import { inspect as show } from "node:util";
import { errorText } from "../../errors.js";
import { messageFields } from "../../persistence/export-format.js";
import type { StoredMessage } from "../../persistence/operations.js";
import { checkPattern } from "../../topic/grammar.js";
import type { Command } from "../command.js";
import { exitCode } from "../exit-code.js";
import { oneLine, timeText } from "../format.js";
import { rangeOf, rangeOptions } from "../range.js";
import { withInspector } from "../read.js";

export const peek: Command = {
  name: "peek",
  summary: "messages, without consuming them",
  operands: "<store> [pattern]",
  details: `Shows messages of a topic or pattern, oldest first: by default of all topics, and ten of them. With --json each is a line as
in an export. Changes nothing.`,
  options: rangeOptions,
  examples: [
    ["inproc-broker peek ./data orders.created", "the first ten"],
    ["inproc-broker peek ./data 'orders.>' --from 2030-01-31T12:00:00Z --limit 3", "three from that time on"],
    ["inproc-broker peek ./data --from 4711 --limit 1 --json", "message 4711"],
  ],
  run: (context) => {
    const pattern = context.positionals[1] ?? ">";
    checkPattern(pattern, { maxTopicLength: Infinity, maxTokens: Infinity });
    const range = rangeOf(context, 10);
    return withInspector(context, async (inspector) => {
      for await (const message of inspector.messages([pattern], range)) {
        const fields = messageFields(message, undefined);
        await context.out(context.isJson ? `${JSON.stringify({ kind: "message", ...fields })}\n` : textOf(message));
      }
      for (const problem of inspector.problems) context.note(`problem: ${problem}`);
      return inspector.problems.length > 0 ? exitCode.problems : exitCode.ok;
    });
  },
};

function textOf(message: StoredMessage): string {
  const { seq, topic, timestamp, id, key, headers, priority, expiresAt } = message;
  const facts = [
    `#${seq}`,
    topic,
    timeText(timestamp),
    `id=${id}`,
    ...(key === undefined ? [] : [`key=${key}`]),
    ...(priority === 4 ? [] : [`priority=${priority}`]),
    ...(expiresAt === undefined ? [] : [`expires=${timeText(expiresAt)}`]),
    ...Object.entries(headers ?? {}).map(([name, value]) => `${name}: ${value}`),
  ];
  return `${facts.map(oneLine).join("  ")}\n    ${payloadText(message)}\n`;
}

function payloadText(message: StoredMessage): string {
  try {
    // Text that would move the cursor is shown as an escape.
    return show(message.data, { depth: 8, breakLength: Infinity, maxArrayLength: 50, maxStringLength: 1000 });
  } catch (error) {
    return `(${message.payloadBytes} bytes: ${oneLine(errorText(error))})`;
  }
}
