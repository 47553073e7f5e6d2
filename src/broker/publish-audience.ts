import type { PublishedMessage } from "../message/message.js";
import { isLate } from "../message/thenable.js";
import type { Plugin } from "./plugin.js";

/** The plugins that hear of messages once they are published, or scheduled. They can change nothing any more, and none hurts another. */
export class PublishAudience {
  readonly #ofPublishes: readonly Plugin[];
  readonly #ofSchedules: readonly Plugin[];
  readonly #failed: (plugin: Plugin, error: unknown) => void;

  constructor(plugins: readonly Plugin[], failed: (plugin: Plugin, error: unknown) => void) {
    this.#ofPublishes = plugins.filter((plugin) => plugin.onPublished !== undefined);
    this.#ofSchedules = plugins.filter((plugin) => plugin.onScheduled !== undefined);
    this.#failed = failed;
  }

  get hearsPublishes(): boolean {
    return this.#ofPublishes.length > 0;
  }

  get hearsSchedules(): boolean {
    return this.#ofSchedules.length > 0;
  }

  published(message: PublishedMessage, matched: number): void {
    for (const plugin of this.#ofPublishes) {
      try {
        isLate(plugin.onPublished?.(message, matched), (error) => this.#failed(plugin, error));
      } catch (error) {
        this.#failed(plugin, error);
      }
    }
  }

  /** @param deliverAt - milliseconds since 1970 */
  scheduled(message: PublishedMessage, deliverAt: number): void {
    for (const plugin of this.#ofSchedules) {
      try {
        isLate(plugin.onScheduled?.(message, deliverAt), (error) => this.#failed(plugin, error));
      } catch (error) {
        this.#failed(plugin, error);
      }
    }
  }
}
