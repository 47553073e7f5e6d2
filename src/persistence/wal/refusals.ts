/** What the log tells those whom it refuses. */
import { brokerError } from "../../errors.js";
import { FileGone } from "./appender.js";
import { maxBodyBytes } from "./record.js";

export function fullError(directory: string): Error {
  return brokerError(
    "ERR_STORE_FULL",
    "The disk is full: the message was not stored. Acknowledgements and reads go on; publishing resumes by itself when there is room",
    { directory },
  );
}

export function failedError(directory: string, cause: unknown): Error {
  return brokerError(
    "ERR_STORE_FAILED",
    cause instanceof FileGone
      ? `${cause.message}. The store takes no more, and what it has taken since then is lost. Close it; open it again for an empty one, or put a backup in its place`
      : "The log could not be written, and takes no more, since what the disk holds is not known. Reads go on. Close the store and open it again to recover",
    { directory },
    cause,
  );
}

export function closedError(directory: string): Error {
  return brokerError("ERR_BROKER_CLOSED", "The log is closed", { directory });
}

export function bufferError(bufferBytes: number): Error {
  return brokerError(
    "ERR_QUEUE_FULL",
    `${bufferBytes} bytes of records wait to be written; wait for the log to be ready, or give it a larger buffer`,
    { bufferBytes },
  );
}

export function tooLargeError(bytes: number): Error {
  return brokerError(
    "ERR_MESSAGE_TOO_LARGE",
    `A record of ${bytes} bytes is above the log's limit of ${maxBodyBytes}`,
    { bytes, limit: maxBodyBytes },
  );
}
