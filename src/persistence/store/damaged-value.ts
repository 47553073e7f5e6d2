/** A value of the database is not what was stored under its key, or cannot be had. */
export class DamagedValue extends Error {}
