/** Work that keeps a core busy: a chain of hashes. */

import { createHash } from "node:crypto";

export default ({ data }) => {
  let digest = Buffer.from(String(data.id));
  for (let round = 0; round < 1_000; round++) digest = createHash("sha256").update(digest).digest();
};
