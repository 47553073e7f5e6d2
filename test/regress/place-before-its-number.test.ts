/**
 * Opening a log whose first records a checkpoint has passed them over, and noted the place where reading had begun under the
 * number of the first record behind them. A reader that started there found another number, and reported damage where
 * there was none.
 */
import { expect, it } from "vitest";
import { durable, openStore, pendingSeqs, publish, range, temporaryFolder } from "../persistence/store/fixture.js";

it("a log that is opened behind a checkpoint can be read from there, without alarm", async () => {
  const path = temporaryFolder();
  const first = await openStore(path);
  const data = "x".repeat(1_000);
  const send = (from: number, to: number): Promise<void[]> =>
    Promise.all(range(from, to).map((seq) => first.append([publish(seq, { data })], "os")));
  await first.append([durable("d", [">"])]);
  await send(1, 700);
  const checkpoint = first.checkpoint();
  await send(701, 1_500);
  await checkpoint;
  await first.close();
  const problems: string[] = [];
  const store = await openStore(path, { onProblem: ({ message }) => problems.push(message) });
  expect(await pendingSeqs(store, "d", 100)).toEqual(range(1, 1_500));
  expect(problems).toEqual([]);
});
