// The cases of cases.py, for clients in JavaScript.
export const URL = process.env.MOLI_URL ?? "http://127.0.0.1:7860/v1";
export const MODEL = process.env.MOLI_MODEL ?? "builtin:starter";
export const QUESTION = "Tell me of the sea.";

export function assert(condition) {
  if (!condition) throw new Error("not what it should be");
}

/** Run the cases, and print a line of JSON about each: its name, and what was wrong or "". */
export async function report(cases, suffix = "") {
  for (const [name, check] of Object.entries(cases)) {
    let problem = "";
    try {
      await check();
    } catch (error) {
      problem = String(error?.stack ?? error).split("\n").slice(0, 2).join(" ");
    }
    console.log(JSON.stringify({ case: name + suffix, problem }));
  }
}
