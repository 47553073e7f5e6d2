// @ts-check
"use strict";

/** @type {import("inproc-broker/worker").PoolHandler} */
module.exports = (message, { broker }) => broker.publish("done", { cjs: message.data });
