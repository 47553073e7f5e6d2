import type { StoreOptions } from "../persistence/options.js";
import type { Context, OptionSpec } from "./command.js";

/** For commands that open a store as a broker does. */
export const repairOption: Readonly<Record<string, OptionSpec>> = {
  repair: { type: "boolean", help: "set damage aside and go on, as a broker does; else a damaged store is left alone" },
};

/** The store, to be written: a damaged one is refused unless repairing was asked for. */
export async function writableStore(context: Context, path?: string): Promise<StoreOptions> {
  return { ...(await context.store(path)), recovery: context.flag("repair") ? "quarantine" : "fail" };
}
