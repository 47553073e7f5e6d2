import type { Case } from "./case.js";
import { backPressureCases, batchCases, overflowCases, reportCases, retainedCases, syncCases } from "./cases/bounds.js";
import {
  fetchCases,
  filterCases,
  flowCases,
  groupCases,
  iteratorCases,
  keyCases,
  rateCases,
} from "./cases/consumers.js";
import { deliveryCases, headerCases, orderingCases, wildcardCases } from "./cases/delivery.js";
import { confirmCases, requestCases, transactionCases } from "./cases/exchange.js";
import { closeCases, counterCases, errorCases, eventCases, idleCases } from "./cases/lifecycle.js";
import { acknowledgementCases, deadLetterCases, redeliveryCases, settleByIdCases } from "./cases/settling.js";
import { crashCases, durableCases, replayCases } from "./cases/store.js";
import { cancelCases, dedupCases, delayCases, priorityCases, timerCases, ttlCases } from "./cases/time.js";

/** Every case, feature by feature. */
export const allCases: readonly Case[] = [
  ...deliveryCases,
  ...wildcardCases,
  ...orderingCases,
  ...headerCases,
  ...groupCases,
  ...keyCases,
  ...acknowledgementCases,
  ...redeliveryCases,
  ...settleByIdCases,
  ...deadLetterCases,
  ...priorityCases,
  ...ttlCases,
  ...delayCases,
  ...cancelCases,
  ...dedupCases,
  ...transactionCases,
  ...requestCases,
  ...confirmCases,
  ...backPressureCases,
  ...overflowCases,
  ...flowCases,
  ...rateCases,
  ...filterCases,
  ...iteratorCases,
  ...fetchCases,
  ...retainedCases,
  ...batchCases,
  ...syncCases,
  ...reportCases,
  ...idleCases,
  ...eventCases,
  ...counterCases,
  ...closeCases,
  ...timerCases,
  ...errorCases,
  ...durableCases,
  ...replayCases,
  ...crashCases,
];
