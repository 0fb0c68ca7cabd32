// What a script found, as the one line of JSON that the tests read.
export const report = (found) => process.stdout.write(`${JSON.stringify(found)}\n`);

export const collect = async (stream) => {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
};
