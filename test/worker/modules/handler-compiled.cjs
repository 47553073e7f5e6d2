// @ts-check
"use strict";
// What a compiler makes of `export default` for CommonJS.
Object.defineProperty(exports, "__esModule", { value: true });
/** @type {import("inproc-broker/worker").PoolHandler} */
exports.default = (message, { broker }) => broker.publish("done", { compiled: message.data });
