import { describe, expect, it } from "vitest";
import { Pace } from "../../../src/persistence/wal/pace.js";

const kib = 1024;

describe("the pace of groups", () => {
  let now = 0;

  /** One group: so many milliseconds to gather, at a KiB each, and so many on the disk. Says whether, and when, it was due early. */
  function group(pace: Pace, gatherMs: number, diskMs: number): number | undefined {
    let dueAt: number | undefined;
    pace.first();
    for (let ms = 1; ms <= gatherMs && dueAt === undefined; ms++) {
      now++;
      if (pace.isDue(ms * kib)) dueAt = ms;
    }
    pace.begin(dueAt !== undefined);
    now += diskMs;
    pace.synced((dueAt ?? gatherMs) * kib);
    return dueAt;
  }

  it("lets nobody go early before it knows the disk", () => {
    expect(group(new Pace(() => now), 1000, 1)).toBeUndefined();
  });

  it("lets a group go once it has taken half as long again as the disk needs, and is large enough", () => {
    const quick = new Pace(() => now);
    group(quick, 100, 10);
    expect(group(quick, 100, 10)).toBe(32);
    const slower = new Pace(() => now);
    group(slower, 100, 40);
    expect(group(slower, 100, 40)).toBe(64);
  });

  it("lets nobody go early on a disk that takes as long as gathering", () => {
    const pace = new Pace(() => now);
    for (let round = 0; round < 5; round++) expect(group(pace, 100, 100)).toBeUndefined();
  });

  it("looks at the disk again and again: by groups that go with the turn, since a busy loop hears of others late", () => {
    const pace = new Pace(() => now);
    group(pace, 100, 10);
    for (let round = 0; round < 16; round++) expect(group(pace, 100, 500)).toBe(32);
    expect(group(pace, 100, 500)).toBeUndefined();
    for (let round = 0; round < 5; round++) expect(group(pace, 100, 500)).toBeUndefined();
    // One of seventeen is looked at, and counts for half.
    const dues = Array.from({ length: 150 }, () => group(pace, 100, 10));
    expect(dues.slice(-17).filter((due) => due === 32)).toHaveLength(16);
  });

  it("lets the next group follow at once where the last was slow to gather, and the next is large enough", () => {
    const pace = new Pace(() => now);
    group(pace, 100, 10);
    group(pace, 100, 10);
    expect(pace.isNextDue(31 * kib)).toBe(false);
    expect(pace.isNextDue(32 * kib)).toBe(true);
    group(pace, 10, 10);
    expect(pace.isNextDue(32 * kib)).toBe(false);
  });

  it("learns nothing from small groups", () => {
    const pace = new Pace(() => now);
    group(pace, 100, 10);
    for (let round = 0; round < 20; round++) group(pace, 5, 1000);
    expect(group(pace, 100, 10)).toBe(32);
  });
});
