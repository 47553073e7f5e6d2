/**
 * Topics with types: from a map of topics to payloads, what a pattern can deliver.
 *
 * Keys of the map may be patterns themselves (`"sensors.*.temperature": number`); they type every topic they match.
 */

/** Payloads by topic (or pattern). */
export type TopicMap = object;

/** What a broker without a topic map has: any topic, any payload. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- an untyped broker says nothing about payloads
export type AnyTopics = Record<string, any>;

type IsUntyped<Topics> = string extends keyof Topics ? true : false;

type Template<Key extends string> = Key extends ">"
  ? string
  : Key extends "*"
    ? string
    : Key extends `${infer Head}.${infer Rest}`
      ? `${Head extends "*" ? string : Head}.${Template<Rest>}`
      : Key;

/** The topics that may be published to: the map's keys, with wildcards opened up. */
export type TopicName<Topics> =
  IsUntyped<Topics> extends true ? string : { [Key in keyof Topics & string]: Template<Key> }[keyof Topics & string];

type Matches<Pattern extends string, Topic extends string> = Pattern extends ">"
  ? true
  : Pattern extends `${infer Head}.${infer Rest}`
    ? Topic extends `${infer TopicHead}.${infer TopicRest}`
      ? Head extends "*"
        ? Matches<Rest, TopicRest>
        : Head extends TopicHead
          ? Matches<Rest, TopicRest>
          : false
      : false
    : Topic extends `${string}.${string}`
      ? false
      : Pattern extends "*"
        ? true
        : Pattern extends Topic
          ? true
          : false;

/** The payload of a topic. */
export type DataOf<Topics, Topic extends string> =
  IsUntyped<Topics> extends true
    ? Topics[keyof Topics]
    : Topic extends keyof Topics
      ? Topics[Topic]
      : { [Key in keyof Topics & string]: Matches<Key, Topic> extends true ? Topics[Key] : never }[keyof Topics &
          string];

/** True where some topic matches both patterns (or topics). */
type Overlaps<One extends string, Other extends string> = string extends One
  ? true
  : string extends Other
    ? true
    : One extends ">"
      ? true
      : Other extends ">"
        ? true
        : One extends `${infer Head}.${infer Rest}`
          ? Other extends `${infer OtherHead}.${infer OtherRest}`
            ? IsToken<Head, OtherHead> extends true
              ? Overlaps<Rest, OtherRest>
              : false
            : false
          : Other extends `${string}.${string}`
            ? false
            : IsToken<One, Other>;

type IsToken<One extends string, Other extends string> = One extends "*"
  ? true
  : Other extends "*"
    ? true
    : One extends Other
      ? true
      : Other extends One
        ? true
        : false;

type HasWildcard<Name extends string> = Name extends `${string}${"*" | ">"}${string}` ? true : false;

/** The keys of the map that a pattern can deliver; for a topic that is a key of its own, that one alone. */
export type TopicsMatching<Topics, Pattern extends string> =
  IsUntyped<Topics> extends true
    ? string
    : Pattern extends keyof Topics
      ? HasWildcard<Pattern> extends true
        ? KeysMatching<Topics, Pattern>
        : Pattern
      : KeysMatching<Topics, Pattern>;

type KeysMatching<Topics, Pattern extends string> = Pattern extends string
  ? { [Key in keyof Topics & string]: Overlaps<Pattern, Key> extends true ? Key : never }[keyof Topics & string]
  : never;

/** What `msg.topic` can be where a key of the map is delivered to a pattern. */
export type TopicOf<Key extends string, Pattern extends string> =
  HasWildcard<Key> extends true
    ? string extends Pattern
      ? Template<Key>
      : HasWildcard<Pattern> extends true
        ? Template<Key>
        : Pattern
    : Key;
