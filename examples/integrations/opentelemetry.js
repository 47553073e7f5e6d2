// @ts-check
// Traces through the broker, with the real SDK: a plugin of 40 lines. The publisher's span travels as W3C `traceparent`
// in the headers; each handler runs inside a consumer span, so what it calls (fetch, a database) is traced beneath it.
//
//     npm install @opentelemetry/api @opentelemetry/sdk-trace-node
import { context, propagation, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-node";
import { InProcBroker } from "inproc-broker";

/** @returns {import("inproc-broker").Plugin} */
function openTelemetry() {
  const tracer = trace.getTracer("inproc-broker");
  const system = { "messaging.system": "inproc-broker" };
  return {
    name: "opentelemetry",
    onPublish(draft) {
      const span = tracer.startSpan(`send ${draft.topic}`, {
        kind: SpanKind.PRODUCER,
        attributes: { ...system, "messaging.operation.type": "send", "messaging.destination.name": draft.topic },
      });
      propagation.inject(trace.setSpan(context.active(), span), draft.headers);
      span.end();
    },
    around(message, subscription, run) {
      const parent = propagation.extract(context.active(), message.headers);
      const attributes = {
        ...system,
        "messaging.operation.type": "process",
        "messaging.destination.name": message.topic,
        "messaging.message.id": message.id,
        "messaging.consumer.group.name": subscription,
        "messaging.delivery_count": message.deliveryCount,
      };
      const options = { kind: SpanKind.CONSUMER, attributes };
      return tracer.startActiveSpan(`process ${message.topic}`, options, parent, async (span) => {
        try {
          return await run();
        } catch (error) {
          span.recordException(/** @type {Error} */ (error));
          span.setStatus({ code: SpanStatusCode.ERROR });
          throw error;
        } finally {
          span.end();
        }
      });
    },
  };
}

const exporter = new InMemorySpanExporter(); // in a service: an OTLP exporter
const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
provider.register();

const broker = await InProcBroker.open({ ack: { backoff: () => 5 }, plugins: [openTelemetry()] });
broker.on("error", () => undefined); // the failure below is expected

const tracer = trace.getTracer("shop");
broker.subscribe("orders.created", async (msg) => {
  await tracer.startActiveSpan("load customer", async (span) => span.end()); // stands for any instrumented call
  await broker.publish("invoices.created", { order: msg.data.id });
});
broker.subscribe("invoices.created", async (msg) => {
  if (msg.deliveryCount === 1) throw new Error("printer jam");
  console.log("traceparent:", /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/.test(msg.headers["traceparent"] ?? ""));
});

await tracer.startActiveSpan("POST /orders", async (span) => {
  await broker.publish("orders.created", { id: 7 });
  span.end();
});
await broker.idle();

const spans = exporter.getFinishedSpans();
console.log("traces:", new Set(spans.map((span) => span.spanContext().traceId)).size);
print(undefined, 0);
await broker.close();
await provider.shutdown();

/** @param {string | undefined} parentId @param {number} depth */
function print(parentId, depth) {
  for (const span of spans.filter(({ parentSpanContext }) => parentSpanContext?.spanId === parentId)) {
    const failed = span.status.code === SpanStatusCode.ERROR ? " (failed)" : "";
    console.log(`${"  ".repeat(depth)}${span.name}${failed}`);
    print(span.spanContext().spanId, depth + 1);
  }
}

/* Prints:
traceparent: true
traces: 1
POST /orders
  send orders.created
    process orders.created
      load customer
      send invoices.created
        process invoices.created (failed)
        process invoices.created
*/
