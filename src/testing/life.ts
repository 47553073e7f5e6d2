import type { Plugin } from "../index.js";

/** One of the brokers that a test broker has, one after the other. */
export interface Life {
  /** True once it has crashed or was closed: nothing that it still does counts. */
  isOver: boolean;
  /** True from when its store is open until it begins to close: a disk is slow only then, since nobody moves time meanwhile. */
  isSteady: boolean;
}

/** The plugin, for as long as its broker lives: what a dead one does is nobody's business, and it calls no handler. */
export function whileAlive(plugin: Plugin, life: Life): Plugin {
  return {
    name: plugin.name,
    onPublish: (draft) => {
      if (!life.isOver) plugin.onPublish?.(draft);
    },
    onPublished: (message, matched) => {
      if (!life.isOver) plugin.onPublished?.(message, matched);
    },
    onScheduled: (message, deliverAt) => {
      if (!life.isOver) plugin.onScheduled?.(message, deliverAt);
    },
    onDeliver: (message, subscription) => {
      if (!life.isOver) plugin.onDeliver?.(message, subscription);
    },
    around: (message, subscription, run) => {
      if (life.isOver) return never();
      return plugin.around === undefined ? run() : plugin.around(message, subscription, run);
    },
    onSettle: (message, decision, subscription) => {
      if (!life.isOver) plugin.onSettle?.(message, decision, subscription);
    },
    onDrop: (message, reason, subscription) => {
      if (!life.isOver) plugin.onDrop?.(message, reason, subscription);
    },
  };
}

/** What comes of that which nobody hears of again. */
export function never(): Promise<never> {
  return new Promise(() => undefined);
}
