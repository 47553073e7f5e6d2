import { describe, expect, it } from "vitest";
import { PageIterator } from "../../src/broker/page-iterator.js";

/** Pages of numbers, and what was asked of them. */
function pagesOf(...pages: (readonly number[])[]) {
  const told: string[] = [];
  async function* read(): AsyncGenerator<readonly number[], void, undefined> {
    try {
      for (const page of pages) {
        await new Promise((resolve) => setImmediate(resolve));
        told.push(`page of ${page.length}`);
        yield page;
      }
      told.push("end");
    } finally {
      told.push("closed");
    }
  }
  return { told, pages: read() };
}

const double = (value: number): number => value * 2;

describe("PageIterator", () => {
  it("yields the items of all pages in order, reading a page when it is come to, and passes over empty ones", async () => {
    const { told, pages } = pagesOf([1, 2], [], [3], []);
    const items = new PageIterator(pages, double);
    expect(told).toEqual([]);
    expect(await items.next()).toEqual({ value: 2, done: false });
    expect(await items.next()).toEqual({ value: 4, done: false });
    expect(told).toEqual(["page of 2"]);
    expect(await items.next()).toEqual({ value: 6, done: false });
    expect(told).toEqual(["page of 2", "page of 0", "page of 1"]);
    expect(await items.next()).toEqual({ value: undefined, done: true });
    expect(await items.next()).toEqual({ value: undefined, done: true });
    expect(told.slice(3)).toEqual(["page of 0", "end", "closed"]);
  });

  it("answers calls that do not wait for each other in their order", async () => {
    const { pages } = pagesOf([1], [2, 3]);
    const items = new PageIterator(pages, double);
    const results = await Promise.all(Array.from({ length: 5 }, () => items.next()));
    expect(results.map(({ value }) => value)).toEqual([2, 4, 6, undefined, undefined]);
  });

  it("answers a call after those that wait for a page, though its own item is there by then", async () => {
    const { pages } = pagesOf([1, 2, 3]);
    const items = new PageIterator(pages, double);
    const order: unknown[] = [];
    const note = ({ value }: { value?: unknown }): void => void order.push(value);
    const first = items.next().then(note);
    const second = items.next().then((result) => {
      note(result);
      return items.next().then(note);
    });
    await Promise.all([first, second]);
    expect(order).toEqual([2, 4, 6]);
  });

  it("reads no more, and closes what it reads from, when a loop over it is left", async () => {
    const { told, pages } = pagesOf([1, 2], [3]);
    const items = new PageIterator(pages, double);
    for await (const item of items) if (item === 2) break;
    expect(told).toEqual(["page of 2", "closed"]);
    expect(await items.next()).toEqual({ value: undefined, done: true });
  });

  it("ends with what throws: an item, a page, its caller", async () => {
    const { told, pages } = pagesOf([1, 2, 3]);
    const items = new PageIterator(pages, (value) => {
      if (value === 2) throw new Error("two");
      return value;
    });
    await items.next();
    await expect(items.next()).rejects.toThrow("two");
    expect(told).toEqual(["page of 3", "closed"]);
    expect(await items.next()).toEqual({ value: undefined, done: true });

    const failing = pagesOf([1]);
    const first = new PageIterator(failing.pages, () => {
      throw new Error("one");
    });
    await expect(first.next()).rejects.toThrow("one");
    expect(failing.told).toEqual(["page of 1", "closed"]);

    const thrown = pagesOf([1, 2]);
    const others = new PageIterator(thrown.pages, double);
    await others.next();
    await expect(others.throw(new Error("three"))).rejects.toThrow("three");
    expect(thrown.told).toEqual(["page of 2", "closed"]);

    async function* broken(): AsyncGenerator<readonly number[], void, undefined> {
      yield [1];
      throw new Error("no page");
    }
    const cut = new PageIterator(broken(), double);
    await cut.next();
    await expect(cut.next()).rejects.toThrow("no page");
    expect(await cut.next()).toEqual({ value: undefined, done: true });
  });

  it("can be disposed of", async () => {
    const { told, pages } = pagesOf([1, 2]);
    const items = new PageIterator(pages, double);
    await items.next();
    await items[Symbol.asyncDispose]();
    expect(told).toEqual(["page of 2", "closed"]);
  });
});
