// The AI SDK, by its OpenAI-compatible provider and by its provider for responses.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { MODEL, QUESTION, URL, assert, report } from "../cases.mjs";

const Weather = z.object({ city: z.enum(["Torino", "上海"]) });

function cases(model) {
  const seen = [];
  const weather = tool({
    description: "Tell the weather.",
    inputSchema: Weather,
    execute: async ({ city }) => (seen.push(city), "sunny"),
  });
  const few = { model, maxOutputTokens: 60, maxRetries: 0 };
  // A call in the first step, and whatever the model likes in the second one.
  const calling = {
    ...few,
    maxOutputTokens: 600,
    prompt: QUESTION,
    tools: { weather },
    stopWhen: stepCountIs(2),
    prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber ? "none" : "required" }),
  };
  return {
    text: async () => assert((await generateText({ ...few, prompt: QUESTION })).text),
    stream: async () => {
      let text = "";
      for await (const part of streamText({ ...few, prompt: QUESTION }).textStream) text += part;
      assert(text);
    },
    "second turn": async () => {
      const messages = [{ role: "user", content: QUESTION }];
      messages.push(...(await generateText({ ...few, messages })).response.messages);
      messages.push({ role: "user", content: "And then?" });
      assert((await generateText({ ...few, messages })).text);
    },
    "tool call": async () => {
      const once = { ...calling, stopWhen: stepCountIs(1) };
      const { toolCalls } = await generateText(once);
      assert(toolCalls.length && toolCalls.every((call) => Weather.parse(call.input)));
    },
    "tool stream": async () => {
      const result = streamText({ ...calling, stopWhen: stepCountIs(1) });
      const kinds = [];
      for await (const part of result.fullStream) kinds.push(part.type);
      assert(kinds.includes("tool-input-delta") && kinds.includes("tool-call"));
      assert(kinds.filter((kind) => kind === "tool-input-delta").length > 1);
    },
    "tool result": async () => {
      seen.length = 0;
      const { steps } = await generateText(calling);
      assert(seen.length && steps.length === 2);
    },
    structured: async () => {
      const output = Output.object({ schema: Weather });
      assert((await generateText({ ...few, prompt: QUESTION, output })).output.city);
    },
  };
}

const compatible = createOpenAICompatible({
  name: "moli",
  baseURL: URL,
  apiKey: "none",
  supportsStructuredOutputs: true,
  includeUsage: true,
});
await report(cases(compatible(MODEL)));
const openai = createOpenAI({ baseURL: URL, apiKey: "none" });
await report(cases(openai.responses(MODEL)), " (responses)");
