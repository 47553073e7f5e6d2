import { InvalidArgumentError } from "../index.js";

/**
 * What arrives where a payload goes over a wire as JSON. Throws `ERR_INVALID_MESSAGE` for what would arrive as something
 * else, and says where: `at user.tags[2]`. A property that is undefined is left out, as JSON leaves it out.
 */
export function overTheWire(topic: string, data: unknown): unknown {
  check(topic, data, "", new Set());
  return JSON.parse(JSON.stringify(data)) as unknown;
}

function check(topic: string, value: unknown, path: string, above: Set<object>): void {
  const refuse = (what: string, instead: string): never => {
    throw new InvalidArgumentError(
      "ERR_INVALID_MESSAGE",
      `the data for ${JSON.stringify(topic)} would not survive the wire: ${path === "" ? "it is" : `${path} is`} ${what}; ${instead}`,
      { facts: { topic, path } },
    );
  };
  switch (typeof value) {
    case "string":
    case "boolean":
      return;
    case "number":
      if (!Number.isFinite(value)) refuse(String(value), "it would arrive as null");
      return;
    case "bigint":
      return refuse("a bigint", "JSON has none: send it as a text");
    case "undefined":
      return refuse("undefined", "it would arrive as null: send null, or leave it out");
    case "function":
    case "symbol":
      return refuse(`a ${typeof value}`, "it would not arrive: send plain data");
    default:
  }
  if (value === null) return;
  const object = value as object;
  if (above.has(object)) refuse("part of itself (a cycle)", "send a tree");
  above.add(object);
  if (Array.isArray(object)) {
    for (let index = 0; index < object.length; index += 1) check(topic, object[index], `${path}[${index}]`, above);
  } else {
    if (object instanceof Date) refuse("a Date", "it would arrive as a text: send toISOString() or getTime()");
    const { prototype } = Object;
    const parent: unknown = Object.getPrototypeOf(object);
    if (parent !== prototype && parent !== null) {
      const name = (object.constructor as { name?: string } | undefined)?.name ?? "an object of a class";
      refuse(`a ${name}`, "it would arrive as a plain object or not at all: send plain data");
    }
    if (typeof (object as { toJSON?: unknown }).toJSON === "function") {
      refuse("an object with toJSON", "it would arrive as what that returns: send that");
    }
    for (const [name, part] of Object.entries(object)) {
      if (part !== undefined) check(topic, part, pathTo(path, name), above);
    }
  }
  above.delete(object);
}

function pathTo(path: string, name: string): string {
  if (!/^[A-Za-z_$][\w$]*$/.test(name)) return `${path}[${JSON.stringify(name)}]`;
  return path === "" ? name : `${path}.${name}`;
}
