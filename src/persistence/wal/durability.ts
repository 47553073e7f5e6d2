/**
 * How far a record must have come before its commit resolves, and what is lost otherwise:
 *
 * | level      | resolves when                                     | lost when the process dies | when power goes      |
 * |------------|---------------------------------------------------|----------------------------|----------------------|
 * | `memory`   | at once                                           | what is not written yet    | what is not synced   |
 * | `os`       | it is in the system's page cache                  | nothing                    | what is not synced   |
 * | `interval` | as `os`; a sync follows within the interval       | nothing                    | the last interval    |
 * | `group`    | its group is on the disk                          | nothing                    | nothing              |
 * | `always`   | as `group`, and the sync does not wait for others | nothing                    | nothing              |
 */
export type Durability = "memory" | "os" | "interval" | "group" | "always";

/** The levels, the weakest first. */
export const levels: readonly Durability[] = ["memory", "os", "interval", "group", "always"];
