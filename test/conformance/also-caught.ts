/**
 * The cases that no mutant names as its own, each with a mutant that fails it as well. With `caughtBy` of the mutants that is every case
 * of the suite: none of them passes whatever a broker does.
 */
export const alsoCaught: Readonly<Record<string, string>> = {
  "delivery: a subscription gets what is published after it, and nothing from before":
    "delivers one message in ten twice",
  "delivery: a message carries its topic, id, data, time and sequence number": "delivers inside publish",
  "delivery: null, numbers, texts, booleans and lists are payloads": "delivers one message in ten twice",
  "delivery: unsubscribe ends delivery, and a repeat does nothing":
    "leaves publishers held by a subscription that has gone",
  "delivery: a handler that throws, hangs or is slow neither loses nor delays another's messages":
    "delivers inside publish",
  "delivery: a handler may publish, subscribe and unsubscribe":
    "leaves publishers held by a subscription that has gone",
  "delivery: several patterns in one subscription bring a message once": "delivers one message in ten twice",
  "wildcards: * is exactly one token": "delivers inside publish",
  "wildcards: > at the end is one or more tokens": "delivers inside publish",
  "wildcards: > alone is every topic": "delivers one message in ten twice",
  "wildcards: * as the first and the last token": "delivers inside publish",
  "wildcards: topics are told apart by case, and by every character": "delivers inside publish",
  "wildcards: a subscription made after a topic was in use is matched from then on":
    "delivers one message in ten twice",
  "ordering: order holds across the topics of one pattern": "loses one message in a hundred",
  "ordering: with concurrency 1 a message waits until the handler has come back from the one before":
    "runs one handler more at once than it may",
  "headers: several values of one header are joined as in HTTP": "drops headers",
  "headers: a message without headers has none, and no key": "takes messages without a key for those of one key",
  "headers: a header that is no text is refused": "drops headers",
  "headers: headers and key stay with a message through redelivery": "drops headers",
  "groups: every member that is free gets its share": "takes a group for subscriptions of their own",
  "groups: a member that is busy leaves messages to the others": "runs one handler more at once than it may",
  "groups: what waits when a member leaves is left to the others": "takes a group for subscriptions of their own",
  "groups: a group is one queue with one bound": "has no bound",
  "keys: orderBy key: other keys do not wait": "forgets keys: orders nothing by them",
  "keys: orderBy key: a message that comes again still goes before its successors":
    "forgets keys: orders nothing by them",
  "acknowledgement: a handler's promise is waited for: it acknowledges when it resolves":
    "acknowledges what it hands over",
  "acknowledgement: without acknowledgement a message is done when it is handed over, and settling it is refused":
    "settles twice without a word",
  "redelivery: without a delay the subscription's backoff decides, by the number of deliveries":
    "swallows what handlers throw: a failure counts as done",
  "redelivery: a handler that hangs loses its delivery, and its place is free again": "forgets the ack timeout",
  "redelivery: a message that comes again goes before others of its priority": "acknowledges what it hands over",
  "redelivery: a redelivery is for the subscription that failed, and for no other": "delivers one message in ten twice",
  "redelivery: others are delivered while one waits for its backoff": "delivers inside publish",
  "settle-by-id: broker.ack, nack and reject settle a delivery by its id":
    "acknowledges everything in flight with one of it",
  "settle-by-id: an id that is settled, late or unknown is refused": "forgets the ack timeout",
  "dead-letters: after maxDeliveries a message is kept with its reason, subscription, error and history":
    "forgets the name of a subscription",
  "dead-letters: reject gives up at once, with the reason given": "acknowledges what it hands over",
  "dead-letters: a dead letter is published to the dead-letter topic too, and says where it came from": "drops headers",
  "dead-letters: redrive delivers it to the subscription that gave it up, and to no other":
    "counts no redeliveries: comes again for ever",
  "dead-letters: purge throws dead letters away; filters choose which": "counts no redeliveries: comes again for ever",
  "dead-letters: list goes in pages, oldest first": "counts no redeliveries: comes again for ever",
  "dead-letters: one message that two subscriptions give up has two dead letters": "forgets the name of a subscription",
  "priority: priorities have names, and 4 is the default": "ignores priorities",
  "priority: a priority outside 0 to 9 is refused": "ignores priorities",
  "priority: a message keeps its priority when it comes again": "ignores priorities",
  "priority: aging lifts what waits too long": "delivers one message in ten twice",
  "ttl: a message is handed over until its ttl is over, and says when that is": "ignores time to live",
  "ttl: the broker's ttl is for messages that name none": "ignores time to live",
  "ttl: a message that has expired already is refused": "ignores time to live",
  "ttl: a message in backoff expires too": "ignores time to live",
  "ttl: expiry makes room in a full queue": "ignores time to live",
  "delay: delayed messages come in the order they are due": "delivers delayed messages at once",
  "delay: it goes to those who are subscribed when it is due": "leaves publishers held by a subscription that has gone",
  "delay: a delay of 60 days works": "delivers delayed messages at once",
  "delay: a delay of 0, and a date that is over, deliver now": "delivers one message in ten twice",
  "delay: a delay below 0, and one with a date, are refused": "delivers delayed messages at once",
  "cancel: cancel takes back a delayed message, once": "delivers delayed messages at once",
  "dedup: after the window the id is free again": "forgets dedupIds",
  "dedup: a publish that was refused does not take its id": "has no bound",
  "transactions: what is published in a transaction is delivered after commit, all of it, in order":
    "delivers inside publish",
  "transactions: a rolled-back ack leaves the delivery with its consumer": "commits what is rolled back",
  "transactions: one refusal rolls everything back": "has no bound",
  "transactions: publish by a transaction's id stages too; an id nobody knows is refused":
    "begins another transaction where its id is taken",
  "request-reply: request resolves to what the responder returns":
    "answers a request that nobody can answer with silence",
  "request-reply: what a responder throws reaches the requester as ERR_REMOTE":
    "answers a request that nobody can answer with silence",
  "request-reply: many requests at once each get their own answer":
    "answers a request that nobody can answer with silence",
  "request-reply: responders of one group share the work: one answers": "takes a group for subscriptions of their own",
  "request-reply: requestMany ends with its timeout, without an error": "delivers inside publish",
  "request-reply: a signal ends a request with its reason": "answers a request that nobody can answer with silence",
  "confirms: confirm: ERR_TIMEOUT where they do not come in time, and the message stays published":
    "confirms before anybody has acknowledged",
  "confirms: confirm: a redelivery that succeeds counts": "never holds a publisher back",
  "back-pressure: a full subscription holds back the publisher, and no other subscription":
    "delivers one message in ten twice",
  "back-pressure: a signal ends the wait for room: the message is withdrawn": "never holds a publisher back",
  'overflow: "drop-oldest" makes room at the front, "drop-newest" drops what comes': "has no bound",
  "overflow: a drop policy gives up the lowest priority first": "ignores priorities",
  'overflow: "close" ends the subscription that is full': "iterates over a subscription with a handler",
  "flow-control: maxInFlight bounds what a consumer holds unsettled": "hands out more than may be in flight",
  "flow-control: pause holds messages back, resume brings them, none is lost": "delivers inside publish",
  "flow-control: drain finishes what there is, takes nothing new, and ends":
    "says that somebody got what nobody subscribed to",
  "rate-limit: rateLimit bounds how fast a subscription is served, and loses nothing": "delivers inside publish",
  "rate-limit: burst lets so many through at once": "delivers inside publish",
  "filters: a message that the filter does not want is not for this subscription":
    "says that somebody got what nobody subscribed to",
  "filters: a filter sees topic, headers and key": "drops headers",
  "filters: a filter that throws keeps the message from its subscription alone": "delivers inside publish",
  "iterators: for await brings messages in order; break ends the subscription":
    "leaves publishers held by a subscription that has gone",
  "fetch: fetch resolves with as many as were asked for, in order": "delivers one message in ten twice",
  "fetch: fetch resolves after its timeout with what there is": "delivers one message in ten twice",
  "fetch: fetch fills up with what comes while it waits": "delivers one message in ten twice",
  'retained: retain keeps a topic\'s last message for later subscribers with from: "last"': "delivers inside publish",
  "retained: a wildcard gets the last message of each topic, in the order they were published":
    "delivers inside publish",
  "retained: a message that is not retained does not replace one that is": "delivers inside publish",
  "batch: publishBatch publishes all in order, with a receipt each": "refuses an empty batch",
  "batch: publishBatch is all or nothing where a queue would be full half way through": "publishes half a batch",
  "sync: publishSync publishes without a promise, in order with publish": "delivers inside publish",
  "sync: publishSync throws where it would have to wait": "has no bound",
  "reports: report: the receipt tells what became of the message in each subscription": "answers a wrong matched",
  "idle: idle resolves once nothing is queued, in flight or in backoff, and not before": "is idle whatever waits",
  "events: a handler that throws is an error event with the message and the error":
    "swallows what handlers throw: a failure counts as done",
  "events: a drop, an expiry, a redelivery and a dead letter are events":
    "counts no redeliveries: comes again for ever",
  "events: off ends listening, once listens once": "swallows what handlers throw: a failure counts as done",
  "events: a listener that throws hurts nobody": "has no bound",
  "counters: every copy is delivered, queued, in flight, delayed, expired, dead-lettered or dropped: the sums hold":
    "acknowledges what it hands over",
  "counters: memory is given back when nothing holds a message any more": "delivers one message in ten twice",
  "close: close returns what it could not finish in time": "leaves iterations hanging on close",
  "close: close without drain does not wait": "leaves iterations hanging on close",
  "close: close rejects held publishers and open requests with ERR_BROKER_CLOSED": "never holds a publisher back",
  "close: no handler is called after close": "delivers delayed messages at once",
  "errors: values out of range are refused, and nothing has changed": "hands out more than may be in flight",
};
