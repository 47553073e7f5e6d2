import type { Message } from "inproc-broker";
import type { PoolContext } from "inproc-broker/worker";

interface Job {
  readonly n: number;
}

export default async function double(message: Message, { broker }: PoolContext): Promise<void> {
  const { n } = message.data as Job;
  await broker.publish("done", { typescript: 2 * n });
}
