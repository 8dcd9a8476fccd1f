// npm's server-everything listens on every interface and knows no setting for it (only PORT): a test must not.
const net = require("node:net");
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) {
  return /^\d+$/.test(port) ? listen.call(this, Number(port), "127.0.0.1", ...rest) : listen.call(this, port, ...rest);
};
