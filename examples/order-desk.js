// @ts-check
/**
 * A morning at the order desk of a web shop: reads orders from a file, bills them in a group of two with
 * acknowledgement, retries and priorities, keeps what fails as dead letters, and moves stock in transactions.
 *
 *     npm start
 */
import { readFile } from "node:fs/promises";
import { exponentialBackoff, InProcBroker } from "inproc-broker";

/**
 * @typedef {{ sku: string, quantity: number, unitPrice: number }} Item
 * @typedef {{ id: string, customer: string, country: string, currency: string, express: boolean, card: string,
 *   items: Item[] }} Order
 * @typedef {{ order: string, amount: number, currency: string }} Invoice
 * @typedef {{ order: string, sku: string, quantity: number }} StockMovement
 * @typedef {{
 *   "orders.*.placed": Order,
 *   "invoices.*.created": Invoice,
 *   "stock.*.moved": StockMovement,
 *   "reminders.payment": { order: string },
 *   "prices.flash": { sku: string, unitPrice: number },
 *   "dlq": unknown,
 * }} Topics
 */

/** An order that no retry will save. */
class Refusal extends Error {}

const broker = /** @type {InProcBroker<Topics>} */ (
  await InProcBroker.open({
    ack: { timeout: 5_000, maxDeliveries: 4, backoff: exponentialBackoff({ initial: 10, max: 100 }) },
    deadLetter: {},
    transactions: {},
    schemas: { "orders.*.placed": orderSchema() },
  })
);

// --- The warehouse and the books listen to what billing publishes ---------------------------------------------------

/** @type {Map<string, number>} */
const stock = new Map(["DESK-140", "LAMP-02", "CHAIR-7", "MAT-01", "ARM-3", "CABLE-9"].map((sku) => [sku, 100]));
broker.subscribe("stock.*.moved", (msg) => {
  stock.set(msg.data.sku, (stock.get(msg.data.sku) ?? 0) + msg.data.quantity);
});

/** @type {Map<string, number[]>} invoices by currency */
const invoices = new Map();
broker.subscribe("invoices.*.created", (msg) => {
  const { currency, amount } = msg.data;
  invoices.set(currency, [...(invoices.get(currency) ?? []), amount]);
});

// --- Billing: a group of two; each order goes to one of them --------------------------------------------------------

/** @type {string[]} orders as they were handed over */
const handedOver = [];
/** @type {string[]} */
const retried = [];
/** @type {Map<string, number>} orders billed by each member of the group */
const billedBy = new Map();
let isProviderUp = false;

/**
 * Invoice, stock movements and acknowledgement become visible as one. Whatever throws rolls all of it back.
 *
 * @param {string} clerk
 * @returns {import("inproc-broker").Handler<import("inproc-broker").Message<Order>>}
 */
function billing(clerk) {
  return async (msg) => {
    const order = msg.data;
    handedOver.push(order.id);
    try {
      await broker.transaction(async (tx) => {
        for (const { sku, quantity } of order.items) {
          await tx.publish(`stock.${sku}.moved`, { order: order.id, sku, quantity: -quantity });
        }
        const missing = order.items.find(({ sku, quantity }) => quantity > (stock.get(sku) ?? 0));
        if (missing !== undefined) throw new Refusal(`${missing.quantity} of ${missing.sku} are not in stock`);
        const amount = await charge(order, msg.deliveryCount);
        await tx.publish(`invoices.${order.country}.created`, { order: order.id, amount, currency: order.currency });
        await tx.ack(msg);
      });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error; // given back: delivered again after the backoff
      await msg.reject(error.message); // final: a dead letter now
      return;
    }
    billedBy.set(clerk, (billedBy.get(clerk) ?? 0) + 1);
    if (msg.deliveryCount > 1) retried.push(`${order.id} at delivery ${msg.deliveryCount}`);
  };
}

/**
 * The payment provider: refuses some cards, is slow with others, and is down for one bank.
 *
 * @param {Order} order
 * @param {number} attempt
 */
async function charge(order, attempt) {
  if (order.card.startsWith("tok_declined")) throw new Refusal("card declined");
  if (order.card.startsWith("tok_slow") && attempt < 3) throw new Error("payment provider timed out");
  if (order.card.startsWith("tok_offline") && !isProviderUp) throw new Error("bank is offline");
  return order.items.reduce((sum, { quantity, unitPrice }) => sum + quantity * unitPrice, 0);
}

const clerks = ["Ada", "Grace"].map((clerk) =>
  broker.subscribe("orders.*.placed", billing(clerk), { group: "billing", ack: "manual" }),
);

// Listens without acknowledgement: told at most once, which is enough for a count. Errors of handlers are expected here.
let alerts = 0;
broker.subscribe("dlq", () => (alerts += 1), { ack: "none" });
let failedAttempts = 0;
broker.on("error", () => (failedAttempts += 1));

// --- Before the desk opens, orders gather ---------------------------------------------------------------------------

for (const clerk of clerks) clerk.pause();

console.log("Orders");
const lines = (await readFile(new URL("data/orders.ndjson", import.meta.url), "utf8")).trimEnd().split("\n");
let accepted = 0;
for (const [index, line] of lines.entries()) {
  try {
    /** @type {Order} */
    const order = JSON.parse(line);
    await broker.publish(`orders.${order.country.toLowerCase()}.placed`, order, {
      key: order.id,
      priority: order.express ? "high" : "normal",
    });
    accepted += 1;
  } catch (error) {
    console.log(`  line ${index + 1} refused: ${reasonOf(error)}`);
  }
}
const waiting = broker.subscriptions().find(({ name }) => name === "billing");
console.log(`  ${accepted} of ${lines.length} published, ${waiting?.queued} wait for a group of ${waiting?.consumers}`);

for (const clerk of clerks) clerk.resume();
await broker.idle();

console.log("\nBilling");
console.log(`  express first: ${handedOver.slice(0, 6).join(", ")}; then ${handedOver[6]}`);
console.log(`  both clerks had a share: ${clerks.length === billedBy.size}`);
console.log(`  ${failedAttempts} attempts failed; billed after retries: ${retried.sort().join(", ")}`);

// --- Dead letters: look, mend, drive again --------------------------------------------------------------------------

console.log("\nDead letters");
const { items: letters } = await broker.deadLetters.list({ topic: "orders.>" });
for (const letter of letters.sort((a, b) => idOf(a).localeCompare(idOf(b)))) {
  console.log(`  ${idOf(letter)}  ${letter.reason}: ${letter.error} (deliveries: ${letter.history.length})`);
}
isProviderUp = true;
const driven = await broker.deadLetters.redrive({ reason: "max-deliveries" });
await broker.idle();
console.log(`  the bank is back: ${driven} driven again, ${broker.deadLetters.stats().count} left, ${alerts} alerts`);

// --- Later, or not at all -------------------------------------------------------------------------------------------

console.log("\nLater");
broker.subscribe("reminders.payment", (msg) => console.log(`  reminder sent for ${msg.data.order}`));
const declined = letters.filter(({ error }) => error === "card declined").map(idOf);
const reminders = [];
for (const order of declined) reminders.push(await broker.publish("reminders.payment", { order }, { delay: 30 }));
console.log(`  ${broker.metrics.snapshot().scheduled} reminders scheduled`);
console.log(`  ${declined[0]} pays by transfer, reminder cancelled: ${await broker.cancel(reminders[0]?.id ?? "")}`);
await broker.idle({ scheduled: true });

const shopWindow = broker.subscribe("prices.flash", { ack: "manual" }); // nobody reads it in time
await broker.publish("prices.flash", { sku: "LAMP-02", unitPrice: 4900 }, { ttl: 20 });
await broker.idle({ topic: "prices.flash" });
console.log(`  flash prices that expired unread: ${shopWindow.stats().expired}`);

// --- The books ------------------------------------------------------------------------------------------------------

console.log("\nInvoices");
for (const [currency, amounts] of [...invoices].sort()) {
  const total = amounts.reduce((sum, amount) => sum + amount, 0);
  console.log(`  ${currency}  ${String(amounts.length).padStart(2)} × ${money(total, currency).padStart(11)}`);
}
console.log(`  stock: ${[...stock].map(([sku, left]) => `${sku} ${left}`).join(", ")}`);

const figures = broker.metrics.snapshot();
const dropped = Object.values(figures.dropped).reduce((sum, count) => sum + count, 0);
const { routed, delivered, queued, inFlight, delayed, expired, deadLettered } = figures;
console.log("\nMetrics");
console.log(`  published ${figures.published}, refused ${figures.refused}, nobody subscribed ${figures.unrouted}`);
console.log(`  handed over ${figures.handedOver}, of these again ${figures.redelivered}, nacked ${figures.nacked}`);
console.log(
  `  transactions: ${figures.transactions.committed} committed, ${figures.transactions.rolledBack} rolled back`,
);
console.log(`  copies: ${routed} = ${delivered} delivered + ${deadLettered} dead-lettered + ${expired} expired`);
const sum = delivered + queued + inFlight + delayed + expired + deadLettered + dropped;
console.log(`  nothing vanished: ${routed === sum}`);

const { undelivered, unacked } = await broker.close();
console.log(`\nClosed: ${undelivered.length} undelivered, ${unacked.length} unacknowledged`);

/** @param {import("inproc-broker").DeadLetter} letter */
function idOf(letter) {
  return letter.message.key ?? letter.message.id;
}

/** @param {unknown} error */
function reasonOf(error) {
  if (error instanceof SyntaxError) return "not JSON";
  return error instanceof Error && "code" in error ? `${String(error.code)}: ${error.message}` : String(error);
}

/** @param {number} amount @param {string} currency */
function money(amount, currency) {
  return currency === "JPY" ? String(amount) : (amount / 100).toFixed(2);
}

/**
 * A validator of a few lines. Any library that implements Standard Schema (zod, valibot, arktype …) goes in the same
 * place: see integrations/schemas-zod.js.
 *
 * @returns {import("inproc-broker").StandardSchema}
 */
function orderSchema() {
  return {
    "~standard": {
      version: 1,
      vendor: "order-desk",
      validate: (value) => {
        const order = /** @type {Order} */ (value);
        const issues = [];
        if (!/^[A-Z]{3}$/.test(order.currency)) issues.push({ path: ["currency"], message: "three capital letters" });
        if (order.items.length === 0) issues.push({ path: ["items"], message: "at least one" });
        return issues.length > 0 ? { issues } : { value };
      },
    },
  };
}

/* Prints:
Orders
  line 12 refused: not JSON
  line 20 refused: ERR_SCHEMA: the data for "orders.it.placed" does not fit its schema: items: at least one
  line 32 refused: ERR_SCHEMA: the data for "orders.de.placed" does not fit its schema: currency: three capital letters
  37 of 40 published, 37 wait for a group of 2

Billing
  express first: ORD-1003, ORD-1006, ORD-1013, ORD-1022, ORD-1031, ORD-1036; then ORD-1001
  both clerks had a share: true
  12 attempts failed; billed after retries: ORD-1008 at delivery 3, ORD-1026 at delivery 3

Dead letters
  ORD-1004  rejected: card declined (deliveries: 1)
  ORD-1016  max-deliveries: bank is offline (deliveries: 4)
  ORD-1024  rejected: card declined (deliveries: 1)
  ORD-1029  rejected: 400 of LAMP-02 are not in stock (deliveries: 1)
  ORD-1034  max-deliveries: bank is offline (deliveries: 4)
  the bank is back: 2 driven again, 3 left, 5 alerts

Later
  2 reminders scheduled
  ORD-1004 pays by transfer, reminder cancelled: true
  reminder sent for ORD-1024
  flash prices that expired unread: 1

Invoices
  AUD   1 ×      419.00
  CAD   2 ×      823.00
  CHF   1 ×      125.00
  EUR  15 ×     3456.00
  GBP   4 ×     1243.00
  JPY   2 ×       75100
  NOK   2 ×     5458.00
  PLN   2 ×     1374.00
  SEK   1 ×     3018.00
  USD   4 ×     1274.00
  stock: DESK-140 91, LAMP-02 87, CHAIR-7 91, MAT-01 86, ARM-3 88, CABLE-9 87

Metrics
  published 132, refused 2, nobody subscribed 0
  handed over 140, of these again 10, nacked 12
  transactions: 34 committed, 15 rolled back
  copies: 131 = 125 delivered + 5 dead-lettered + 1 expired
  nothing vanished: true

Closed: 0 undelivered, 0 unacknowledged
*/
