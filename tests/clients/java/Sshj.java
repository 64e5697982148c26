import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import net.schmizz.sshj.SSHClient;
import net.schmizz.sshj.transport.verification.OpenSSHKnownHosts;
import net.schmizz.sshj.userauth.method.AuthKeyboardInteractive;
import net.schmizz.sshj.userauth.method.AuthPublickey;
import net.schmizz.sshj.userauth.method.ChallengeResponseProvider;
import net.schmizz.sshj.userauth.password.Resource;

/** A login as programs do it that use sshj: see tests/clients/test_libraries.py. */
public class Sshj {
  record Answers(String code) implements ChallengeResponseProvider {
    public java.util.List<String> getSubmethods() {
      return java.util.List.of();
    }

    public void init(Resource resource, String name, String instruction) {}

    public char[] getResponse(String prompt, boolean echo) {
      return code.toCharArray();
    }

    public boolean shouldRetry() {
      return false;
    }
  }

  public static void main(String[] ignored) throws Exception {
    var given = System.getenv();
    Path known = Files.createTempFile("known", "hosts");
    var name = "[" + given.get("HOST") + "]:" + given.get("PORT");
    Files.writeString(known, name + " " + given.get("HOST_KEY") + "\n");
    try (var client = new SSHClient()) {
      client.addHostKeyVerifier(new OpenSSHKnownHosts(known.toFile()));
      client.connect(given.get("HOST"), Integer.parseInt(given.get("PORT")));
      var key = client.loadKeys(new File(given.get("KEY")).getPath());
      var code = given.getOrDefault("CODE", "");
      var answer = new AuthKeyboardInteractive(new Answers(code));
      client.auth(given.get("LOGIN"), new AuthPublickey(key), answer);
      try (var session = client.startSession()) {
        session.exec("id -un").getInputStream().transferTo(System.out);
      }
    } finally {
      Files.delete(known);
    }
  }
}
