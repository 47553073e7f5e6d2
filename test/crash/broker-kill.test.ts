import { it } from "vitest";
import { brokerKillLoop } from "./broker-kill.js";

const isLong = process.env["LONG"] !== undefined;
const rounds = isLong ? 500 : 15;
const seed = Number(process.env["BROKER_SEED"] ?? 1 + Math.floor(Math.random() * 1e6));

it(`a broker has all it acknowledged, nothing settled and nothing half, after its process was killed ${rounds} times (BROKER_SEED=${seed})`, async () => {
  await brokerKillLoop(rounds, seed);
}, 1_800_000);
