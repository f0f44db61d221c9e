// Twenty files at once, as workload.sh wants them.
const fs = require('fs/promises');

async function one(n) {
  await fs.writeFile(`n${n}`, `node ${n}`);
  await fs.rename(`n${n}`, `m${n}`);
  return fs.readFile(`m${n}`, 'utf8');
}

Promise.all([...Array(20).keys()].map(one)).then((texts) => console.log(texts.join()));
