// @ts-check
import { builtinModules } from "node:module";
import js from "@eslint/js";
import { defineConfig, globalIgnores } from "eslint/config";
import tseslint from "typescript-eslint";

/** Time, chance, the process and the console: src/platform has them as interfaces, so a test can replace them. */
const machineGlobals = [
  ["setTimeout", "schedule on the injected Clock"],
  ["setInterval", "schedule on the injected Clock"],
  ["setImmediate", "yield through the platform"],
  ["clearTimeout", "cancel on the injected Clock"],
  ["clearInterval", "cancel on the injected Clock"],
  ["clearImmediate", "cancel through the platform"],
  ["performance", "read the injected Clock"],
  ["crypto", "use the injected random source"],
  ["process", "go through the platform"],
].map(([name = "", instead]) => ({ name, message: `Only src/platform, src/worker and src/cli: ${instead}.` }));

/** Every use of Date but `x instanceof Date` and the type: a payload may hold one. */
const machineDate = {
  selector:
    "Identifier[name='Date']:not(BinaryExpression[operator='instanceof'] > .right):not(TSTypeReference > .typeName)",
  message: "Only src/platform, src/worker and src/cli: read the injected Clock.",
};

const consoleGlobal = { name: "console", message: "A library does not print: emit an event." };

const machineModules = {
  paths: builtinModules
    .filter((name) => !name.startsWith("_"))
    .map((name) => ({ name, message: "Only src/platform, src/worker and src/cli import Node's modules." })),
  patterns: [{ group: ["node:*"], message: "Only src/platform, src/worker and src/cli import Node's modules." }],
};

/**
 * Rules of this project for every TypeScript and JavaScript file, over typescript-eslint's strict set.
 *
 * @type {import("eslint").Linter.RulesRecord}
 */
const house = {
  eqeqeq: ["error", "always", { null: "ignore" }],
  "no-var": "error",
  "prefer-const": "error",
  "object-shorthand": "error",

  "@typescript-eslint/no-floating-promises": "error",
  "@typescript-eslint/no-misused-promises": "error",
  "@typescript-eslint/await-thenable": "error",
  "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
  "@typescript-eslint/consistent-type-imports": ["error", { fixStyle: "separate-type-imports" }],
  "@typescript-eslint/consistent-type-exports": "error",
  "@typescript-eslint/no-unused-vars": [
    "error",
    { argsIgnorePattern: "^_", varsIgnorePattern: "^_", ignoreRestSiblings: true },
  ],

  // What an AbortSignal was aborted with, or a handler threw, is passed on as it came.
  "@typescript-eslint/only-throw-error": ["error", { allowThrowingAny: true, allowThrowingUnknown: true }],
  "@typescript-eslint/prefer-promise-reject-errors": ["error", { allowThrowingAny: true, allowThrowingUnknown: true }],
  "@typescript-eslint/restrict-template-expressions": [
    "error",
    { allowNumber: true, allowBoolean: true, allowNullish: true },
  ],
  "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],

  // Noise here: bounds that the loop guarantees, checks that outlive a type, signatures that an interface dictates.
  "@typescript-eslint/no-non-null-assertion": "off",
  "@typescript-eslint/no-unnecessary-condition": "off",
  "@typescript-eslint/no-unnecessary-type-arguments": "off",
  "@typescript-eslint/no-unnecessary-type-parameters": "off",
  "@typescript-eslint/no-invalid-void-type": "off",
  "@typescript-eslint/no-unsafe-class-instance-assignment": "off",
  "@typescript-eslint/no-dynamic-delete": "off",
  "@typescript-eslint/require-await": "off",
  "@typescript-eslint/unified-signatures": "off",
};

export default defineConfig(
  globalIgnores(["dist/", "docs/api/", "coverage/", ".cache/", "**/node_modules/", "bench/results/"]),
  { linterOptions: { reportUnusedDisableDirectives: "error" } },

  js.configs.recommended,
  tseslint.configs.strictTypeChecked,
  {
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    rules: house,
  },

  {
    name: "src: no machine",
    files: ["src/**/*.ts"],
    rules: {
      "no-restricted-globals": [
        "error",
        { globals: [...machineGlobals, consoleGlobal], checkGlobalObject: true, globalObjects: ["global"] },
      ],
      "no-restricted-properties": [
        "error",
        { object: "Math", property: "random", message: "Use the injected random source." },
        { object: "AbortSignal", property: "timeout", message: "Schedule on the injected Clock." },
      ],
      "no-restricted-imports": ["error", machineModules],
      "no-restricted-syntax": ["error", machineDate],
    },
  },
  {
    name: "src: the machine itself",
    files: ["src/platform/**/*.ts", "src/worker/**/*.ts", "src/cli/**/*.ts"],
    rules: {
      "no-restricted-globals": ["error", consoleGlobal],
      "no-restricted-properties": "off",
      "no-restricted-imports": "off",
      "no-restricted-syntax": "off",
    },
  },

  {
    name: "tests",
    files: ["test/**/*.ts"],
    rules: {
      // expect.any(…), expect.objectContaining(…) are `any`; expect(spy.method) is not a call.
      "@typescript-eslint/no-unsafe-assignment": "off",
      "@typescript-eslint/unbound-method": "off",
      "@typescript-eslint/no-empty-function": "off",
    },
  },
  {
    name: "plain JavaScript: types are checked by tsc, what JSON.parse returns is not worth a cast",
    files: ["**/*.js", "**/*.mjs", "**/*.cjs"],
    rules: {
      "@typescript-eslint/no-unsafe-argument": "off",
      "@typescript-eslint/no-unsafe-assignment": "off",
      "@typescript-eslint/no-unsafe-call": "off",
      "@typescript-eslint/no-unsafe-member-access": "off",
      "@typescript-eslint/no-unsafe-return": "off",
      // tsc knows Node's globals.
      "no-undef": "off",
    },
  },
  {
    name: "CommonJS",
    files: ["**/*.cjs"],
    languageOptions: { sourceType: "commonjs" },
    rules: { "@typescript-eslint/no-require-imports": "off" },
  },
  {
    name: "benchmarks: a package of their own, whose peers are not installed here",
    files: ["bench/**"],
    extends: [tseslint.configs.disableTypeChecked],
    languageOptions: { parserOptions: { projectService: false } },
  },
);
