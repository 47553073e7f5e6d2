// @ts-check
/** What each worker of `worker-hashing.js` does: a chain of hashes over the text of one order, which keeps a core busy. */
import { createHash } from "node:crypto";

const rounds = 2_000;

/**
 * @param {import("inproc-broker").Message} message
 * @param {import("inproc-broker/worker").PoolContext} context
 */
export default async function hash(message, { broker }) {
  const { id, line } = /** @type {{ id: string, line: string }} */ (message.data);
  let digest = Buffer.from(line);
  for (let round = 0; round < rounds; round += 1) digest = createHash("sha256").update(digest).digest();
  await broker.publish("hashes.made", { id, digest: digest.toString("hex") });
}
