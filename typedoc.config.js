// @ts-check
import { readFileSync } from "node:fs";

const { exports } = JSON.parse(readFileSync(new URL("package.json", import.meta.url), "utf8"));

/** @type {Partial<import("typedoc").TypeDocOptions>} */
export default {
  name: "inproc-broker",
  // The doors, as the exports map of package.json names them.
  entryPoints: Object.values(exports).flatMap(({ types }) =>
    types === undefined ? [] : types.replace("./dist/", "src/").replace(/\.d\.ts$/, ".ts"),
  ),
  tsconfig: "tsconfig.build.json",
  out: "docs/api",
  readme: "none",
  excludePrivate: true,
  excludeInternal: true,
  excludeExternals: true,
  disableSources: true,
  treatWarningsAsErrors: true,
  // Helpers of conditional types.
  intentionallyNotExported: [
    "HasWildcard",
    "IsUntyped",
    "KeysMatching",
    "MessagesOf",
    "Matches",
    "Template",
    "namedPriorities",

    "TakerHost",
    "RemoteOrigin",
  ],
  validation: {
    notExported: true,
    invalidLink: true,
    invalidPath: true,
    rewrittenLink: true,
    notDocumented: true,
    unusedMergeModuleWith: true,
  },
  requiredToBeDocumented: ["Class", "Interface", "Function", "TypeAlias", "Variable", "Method", "Accessor", "Property"],
};
