// Tables for people.
import { describe, expect, it } from "vitest";
import { tableText } from "../../src/cli/format.js";

describe("a table", () => {
  it("has its columns in line, also with names that are shown in another way", () => {
    const rows = [
      ["right\u202e", 1, ["a", "b.*"]],
      ["plain", 22, []],
    ];
    expect(tableText(["topic", "messages", "patterns"], rows)).toBe(
      ["topic          messages  patterns", "right\\u{202e}         1  a b.*", "plain                22", ""].join(
        "\n",
      ),
    );
  });

  it("may have more rows than a call has arguments", () => {
    const rows = Array.from({ length: 200_000 }, (_, number) => [`t${number}`, number]);
    expect(tableText(["topic", "messages"], rows).split("\n")).toHaveLength(200_002);
  });
});
