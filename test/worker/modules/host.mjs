// @ts-check
/** A child process whose broker its parent uses. */
import process from "node:process";
import { InProcBroker } from "inproc-broker";
import { exposeBroker } from "inproc-broker/worker";

const broker = new InProcBroker({ ack: {} });
broker.respond("double", ({ data }) => 2 * data);
exposeBroker(broker, process);
