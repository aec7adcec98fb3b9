// OpenAI's own client for JavaScript: chat completions, responses, and its helpers.
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { MODEL, QUESTION, URL, assert, report } from "../cases.mjs";

const client = new OpenAI({ baseURL: URL, apiKey: "none", maxRetries: 0 });
const talk = [{ role: "user", content: QUESTION }];
const Weather = z.object({ city: z.enum(["Torino", "上海"]) });
const parameters = {
  type: "object",
  properties: { city: { enum: ["Torino", "上海"] } },
  required: ["city"],
  additionalProperties: false,
};
const tools = [{ type: "function", function: { name: "weather", strict: true, parameters } }];
const calling = { model: MODEL, messages: talk, tools, tool_choice: "required" };
const few = { model: MODEL, max_completion_tokens: 12 };
const create = (body) => client.chat.completions.create(body);

await report({
  text: async () => assert((await create({ messages: talk, ...few })).choices[0].message.content),
  stream: async () => {
    const stream = client.chat.completions.stream({ messages: talk, ...few });
    let text = "";
    stream.on("content", (delta) => (text += delta));
    assert((await stream.finalContent()) === text && text);
  },
  "second turn": async () => {
    const { message } = (await create({ messages: talk, ...few })).choices[0];
    const messages = [...talk, message, { role: "user", content: "And then?" }];
    assert((await create({ messages, ...few })).choices[0].message.content);
  },
  "tool call": async () => {
    const [call] = (await create(calling)).choices[0].message.tool_calls;
    Weather.parse(JSON.parse(call.function.arguments));
  },
  "tool stream": async () => {
    const stream = client.chat.completions.stream(calling);
    const [call] = (await stream.finalMessage()).tool_calls;
    Weather.parse(JSON.parse(call.function.arguments));
  },
  "tool result": async () => {
    const seen = [];
    const run = { type: "function", function: { ...tools[0].function, parse: JSON.parse } };
    run.function.function = ({ city }) => (seen.push(city), "sunny");
    const choice = { type: "function", function: { name: "weather" } };
    const runner = client.chat.completions.runTools(
      { ...few, max_completion_tokens: 60, messages: talk, tools: [run], tool_choice: choice },
      { maxChatCompletions: 1 },
    );
    await runner.done();
    assert(seen.length === 1);
    const messages = runner.messages;
    assert((await create({ messages, tools, ...few })).choices.length === 1);
  },
  structured: async () => {
    const response_format = zodResponseFormat(Weather, "weather");
    const body = { model: MODEL, messages: talk, response_format };
    const { message } = (await client.chat.completions.parse(body)).choices[0];
    assert(message.parsed.city);
  },
  "text (responses)": async () => {
    const body = { model: MODEL, input: QUESTION, max_output_tokens: 12 };
    assert((await client.responses.create(body)).output_text);
  },
  "stream (responses)": async () => {
    const body = { model: MODEL, input: QUESTION, max_output_tokens: 12 };
    const response = await client.responses.stream(body).finalResponse();
    assert(response.output_text);
  },
  "second turn (responses)": async () => {
    const few = { model: MODEL, max_output_tokens: 12 };
    const first = await client.responses.create({ input: QUESTION, ...few });
    const input = [{ role: "user", content: QUESTION }, ...first.output];
    input.push({ role: "user", content: "And then?" });
    assert((await client.responses.create({ input, ...few })).output_text);
    const next = { input: "And then?", previous_response_id: first.id, ...few };
    assert((await client.responses.create(next)).output_text);
  },
});
