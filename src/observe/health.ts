/** One thing that was looked at. */
export interface HealthCheck {
  /** `lifecycle`, `memory`, `consumers` or `store`. */
  readonly name: string;
  /** How that is. */
  readonly status: HealthStatus;
  /** What was found, in words and figures. */
  readonly detail: string;
}

/** degraded: works, and somebody should look. unhealthy: does not work. */
export type HealthStatus = "healthy" | "degraded" | "unhealthy";

/** How a broker is. */
export interface Health {
  /** The worst of `checks`. */
  readonly status: HealthStatus;
  /** Milliseconds since it was made. */
  readonly uptime: number;
  /** Topics in use. */
  readonly topics: number;
  /** Subscriptions, each member of a group counted. */
  readonly subscriptions: number;
  /** Bytes of messages held. */
  readonly memoryBytes: number;
  /** What was looked at. */
  readonly checks: readonly HealthCheck[];
}

const order: readonly HealthStatus[] = ["healthy", "degraded", "unhealthy"];

/** The worst status of several. */
export function worst(checks: readonly HealthCheck[]): HealthStatus {
  return order[Math.max(0, ...checks.map(({ status }) => order.indexOf(status)))] as HealthStatus;
}

/** A check that is degraded from `warnAt` on (a share of the limit). */
export function shareCheck(name: string, used: number, limit: number, unit: string, warnAt = 0.9): HealthCheck {
  const share = limit === Infinity ? 0 : used / limit;
  return {
    name,
    status: share >= warnAt ? "degraded" : "healthy",
    detail: `${used} of ${limit} ${unit}`,
  };
}
