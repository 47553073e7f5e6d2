/** What a fault fails with, unless the test names something else. */
export class InjectedFault extends Error {
  /** Its class's. */
  override readonly name = "InjectedFault";
}
