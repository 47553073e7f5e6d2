// @ts-check
/** A script of one's own in place of the package's, as a bundle has it: the handler is part of it. */
import { servePool } from "inproc-broker/worker";

await servePool((message, { broker }) => broker.publish("done", { bundled: message.data }));
