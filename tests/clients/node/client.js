// A login as programs in Node do it (ssh2): see tests/clients/test_libraries.py.
const { readFileSync } = require("node:fs");
const { Client } = require("ssh2");

const { HOST, PORT, LOGIN, KEY, HOST_KEY, CODE } = process.env;
const connection = new Client();

function fail(error) {
  console.error(error.message);
  process.exit(1);
}

connection
  .on("keyboard-interactive", (_name, _instructions, _language, prompts, finish) =>
    finish(prompts.map(() => CODE)),
  )
  .on("ready", () =>
    connection.exec("id -un", (error, stream) => {
      if (error) fail(error);
      stream.pipe(process.stdout);
      stream.on("close", () => connection.end());
    }),
  )
  .on("error", fail)
  .connect({
    host: HOST,
    port: Number(PORT),
    username: LOGIN,
    privateKey: readFileSync(KEY),
    tryKeyboard: true,
    readyTimeout: 60000,
    hostVerifier: (key) => key.equals(Buffer.from(HOST_KEY.split(" ")[1], "base64")),
  });
