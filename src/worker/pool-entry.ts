/** The script of a pool's workers where the pool names none of its own. */

import { servePool } from "./serve-pool.js";

await servePool();
