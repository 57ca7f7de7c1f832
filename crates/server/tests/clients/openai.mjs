// The npm client of OpenAI against the server at the address in the first argument.

import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "none", maxRetries: 0 });
const texts = ["hello world", "the cat sat on the mat"];

const models = [];
for await (const model of client.models.list()) models.push(model);
const embedder = models.find((model) => model.task === "embed").id;

// The client asks for Base64 unless it is told, and decodes it.
const answer = await client.embeddings.create({ model: embedder, input: texts });
assert.deepEqual(answer.data.map((item) => item.embedding.length), [96, 96]);
const floats = await client.embeddings.create({ model: embedder, input: texts, encoding_format: "float" });
assert.deepEqual(answer.data[0].embedding, Array.from(Float32Array.from(floats.data[0].embedding)));
const short = await client.embeddings.create({ model: embedder, input: texts[0], dimensions: 32 });
assert.equal(short.data[0].embedding.length, 32);
assert.ok(answer.usage.total_tokens > 0);

await assert.rejects(client.embeddings.create({ model: "none", input: "a" }), (error) => {
  assert.ok(error instanceof OpenAI.NotFoundError);
  assert.equal(error.code, "model_not_found");
  return true;
});
await assert.rejects(client.embeddings.create({ model: embedder, input: [] }), OpenAI.BadRequestError);
console.log("npm openai: passed");
