/** A source of randomness: a number in [0, 1). Injected, so that a seed gives one order of events. */
export type Random = () => number;

export const systemRandom: Random = () => Math.random();
