import { describe, expect, it } from "vitest";
import { Ring } from "../../src/collections/ring.js";

function ringOf<T>(...items: T[]): Ring<T> {
  const ring = new Ring<T>();
  for (const item of items) ring.push(item);
  return ring;
}

describe("Ring", () => {
  it("gives items back at both ends", () => {
    const ring = ringOf(1, 2, 3);
    expect([...ring]).toEqual([1, 2, 3]);
    expect(ring.peek()).toBe(1);
    expect(ring.peekLast()).toBe(3);
    expect(ring.pop()).toBe(3);
    expect(ring.shift()).toBe(1);
    expect(ring.length).toBe(1);
  });

  it("answers undefined when it is empty or the index is outside", () => {
    const ring = new Ring<number>();
    expect([ring.shift(), ring.pop(), ring.peek(), ring.peekLast(), ring.at(0)]).toEqual(new Array(5).fill(undefined));
    ring.push(7);
    expect([ring.at(-1), ring.at(0), ring.at(1)]).toEqual([undefined, 7, undefined]);
    expect(ring.length).toBe(1);
  });

  it("keeps the order when it grows after wrapping around", () => {
    const ring = ringOf(...Array.from({ length: 8 }, (_, index) => index));
    for (let round = 0; round < 5; round += 1) ring.push(ring.shift()! + 8);
    for (let next = 13; next < 30; next += 1) ring.push(next);
    expect([...ring]).toEqual(Array.from({ length: 25 }, (_, index) => index + 5));
  });

  it("gives memory back as a large backlog drains, and keeps a small array", () => {
    const ring = new Ring<number>();
    for (let item = 0; item < 100_000; item += 1) ring.push(item);
    expect(ring.capacity).toBe(131_072);
    while (ring.length > 1000) ring.shift();
    expect(ring.capacity).toBeLessThanOrEqual(8192);
    while (ring.length > 0) ring.shift();
    expect(ring.capacity).toBeLessThanOrEqual(1024);

    const small = ringOf(...Array.from({ length: 1000 }, (_, index) => index));
    while (small.length > 0) small.pop();
    expect(small.capacity).toBe(1024);
  });

  it("does not resize for every item around the point where it shrank", () => {
    const ring = new Ring<number>();
    for (let item = 0; item < 100_000; item += 1) ring.push(item);
    let before = ring.capacity;
    while (ring.capacity === before) ring.shift();
    before = ring.capacity;
    for (let round = 0; round < 100; round += 1) {
      ring.push(round);
      ring.push(round);
      ring.shift();
      ring.pop();
      expect(ring.capacity).toBe(before);
    }
  });

  it("retains what it is told to, in order, and shrinks to fit", () => {
    const ring = new Ring<number>();
    for (let item = 0; item < 50_000; item += 1) ring.push(item);
    expect(ring.retain((item) => item % 10_000 === 0)).toBe(49_995);
    expect([...ring]).toEqual([0, 10_000, 20_000, 30_000, 40_000]);
    expect(ring.capacity).toBeLessThanOrEqual(1024);
    expect(ring.retain(() => true)).toBe(0);
  });

  it("stays whole when the predicate throws", () => {
    const ring = ringOf(1, 2, 3, 4, 5);
    expect(() =>
      ring.retain((item) => {
        if (item === 4) throw new Error("no");
        return item !== 2;
      }),
    ).toThrow("no");
    expect([...ring]).toEqual([1, 3, 4, 5]);
    ring.push(6);
    expect(ring.length).toBe(5);
  });

  it("starts anew after clear", () => {
    const ring = ringOf(1, 2, 3);
    ring.clear();
    expect(ring.length).toBe(0);
    ring.push(4);
    expect([...ring]).toEqual([4]);
  });

  it("holds undefined like any other item", () => {
    const ring = ringOf<number | undefined>(undefined, 1);
    expect(ring.length).toBe(2);
    expect(ring.shift()).toBeUndefined();
    expect(ring.length).toBe(1);
  });
});
