import { StoreInspector } from "../persistence/inspect.js";
import type { Context } from "./command.js";

/** Opens the store to look at it, in use or not, and says so where it is. */
export async function withInspector<Value>(
  context: Context,
  look: (inspector: StoreInspector) => Promise<Value>,
): Promise<Value> {
  const inspector = await StoreInspector.open({ ...(await context.store()), inUse: "read" });
  try {
    const { holder } = inspector;
    if (holder !== undefined) {
      context.note(
        `note: process ${holder.pid} on ${holder.host} has this store open: this is what was in it a moment ago`,
      );
    }
    return await look(inspector);
  } finally {
    await inspector.close();
  }
}
