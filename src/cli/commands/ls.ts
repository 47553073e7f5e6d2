import { errorText } from "../../errors.js";
import type { StoreInspector } from "../../persistence/inspect.js";
import type { Command } from "../command.js";
import { exitCode, UsageError } from "../exit-code.js";
import { tableText, timeText } from "../format.js";
import type { Cell } from "../format.js";
import { nearest } from "../nearest.js";
import { withInspector } from "../read.js";

type Row = readonly Cell[];

const lists: Readonly<
  Record<string, { head: readonly string[]; rows: (inspector: StoreInspector) => readonly Row[] }>
> = {
  topics: {
    head: ["topic", "messages"],
    rows: (inspector) => inspector.topics().map(({ topic, messages }) => [topic, messages]),
  },
  durables: {
    head: ["durable", "pending", "attempted", "settled through", "patterns"],
    rows: (inspector) =>
      inspector
        .durables()
        .map(({ name, pending, attempted, floor, patterns }) => [name, pending, attempted, floor, patterns]),
  },
  "dead-letters": {
    head: ["id", "topic", "reason"],
    rows: ({ recovered }) =>
      recovered.deadLetters.map(({ id, message, facts }) => [id, message.topic, reasonOf(facts)]),
  },
  delayed: {
    head: ["number", "due", "topic", "id"],
    rows: ({ recovered }) =>
      recovered.delayed.map(({ seq, deliverAt = 0, topic, id }) => [seq, timeText(deliverAt), topic, id]),
  },
  retained: {
    head: ["topic", "number", "id"],
    rows: ({ recovered }) => recovered.retained.map(({ topic, seq, id }) => [topic, seq, id]),
  },
};

const names = Object.keys(lists);

export const ls: Command = {
  name: "ls",
  summary: "topics, durables, dead letters, delayed and retained messages",
  operands: "<store> [what]",
  details: `Lists one of: ${names.join(", ")}. By default topics. Changes nothing.`,
  options: {},
  examples: [
    ["inproc-broker ls ./data", "topics, with how many messages each keeps"],
    ["inproc-broker ls ./data durables", "how far each durable is"],
    ["inproc-broker ls ./data dead-letters --json", "what was given up on"],
  ],
  run: (context) => {
    const what = context.positionals[1] ?? "topics";
    const list = Object.hasOwn(lists, what) ? lists[what] : undefined;
    if (list === undefined) {
      const meant = nearest(what, names);
      const suggestion = meant === undefined ? "" : ` Did you mean ${meant}?`;
      throw new UsageError(`ls lists ${names.join(", ")}; got ${JSON.stringify(what)}.${suggestion}`);
    }
    return withInspector(context, async (inspector) => {
      const { head } = list;
      const rows = list.rows(inspector);
      const objects = rows.map((row) => Object.fromEntries(head.map((name, column) => [keyOf(name), row[column]])));
      await context.result(objects, rows.length === 0 ? `no ${what.replace("-", " ")}\n` : tableText(head, rows));
      return exitCode.ok;
    });
  },
};

/** A column's heading as a key: `settled through` is `settledThrough`. */
function keyOf(heading: string): string {
  return heading.replace(/ ([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function reasonOf(facts: unknown): string {
  try {
    const isKnown =
      typeof facts === "object" && facts !== null && "reason" in facts && typeof facts.reason === "string";
    return isKnown ? (facts as { reason: string }).reason : JSON.stringify(facts);
  } catch (error) {
    return errorText(error);
  }
}
