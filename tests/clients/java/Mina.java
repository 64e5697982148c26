import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyPair;
import java.security.PublicKey;
import java.util.Arrays;
import java.util.List;
import org.apache.sshd.client.SshClient;
import org.apache.sshd.client.auth.keyboard.UserInteraction;
import org.apache.sshd.client.session.ClientSession;
import org.apache.sshd.common.config.keys.KeyUtils;
import org.apache.sshd.common.config.keys.PublicKeyEntry;
import org.apache.sshd.common.config.keys.PublicKeyEntryResolver;
import org.apache.sshd.common.keyprovider.FileKeyPairProvider;

/** A login as programs do it that use Apache MINA: see tests/clients/test_libraries.py. */
public class Mina {
  record Answers(String code) implements UserInteraction {
    public String[] interactive(
        ClientSession session, String name, String text, String lang, String[] asked, boolean[] e) {
      String[] answers = new String[asked.length];
      Arrays.fill(answers, code);
      return answers;
    }

    public String getUpdatedPassword(ClientSession session, String prompt, String lang) {
      return null;
    }
  }

  static PublicKey resolved(String line) throws Exception {
    return PublicKeyEntry.parsePublicKeyEntry(line.strip())
        .resolvePublicKey(null, null, PublicKeyEntryResolver.FAILING);
  }

  public static void main(String[] ignored) throws Exception {
    var given = System.getenv();
    var hostKey = resolved(given.get("HOST_KEY"));
    try (var client = SshClient.setUpDefaultClient()) {
      client.setServerKeyVerifier((s, address, key) -> KeyUtils.compareKeys(hostKey, key));
      client.setUserInteraction(new Answers(given.getOrDefault("CODE", "")));
      client.setHostConfigEntryResolver(
          org.apache.sshd.client.config.hosts.HostConfigEntryResolver.EMPTY);
      client.start();
      int port = Integer.parseInt(given.get("PORT"));
      try (var session =
          client.connect(given.get("LOGIN"), given.get("HOST"), port).verify(60000).getSession()) {
        var files = new FileKeyPairProvider(List.of(Path.of(given.get("KEY"))));
        var key = files.loadKeys(session).iterator().next();
        if (given.containsKey("CERTIFICATE")) {
          var line = Files.readString(Path.of(given.get("CERTIFICATE")));
          key = new KeyPair(resolved(line), key.getPrivate());
        }
        session.addPublicKeyIdentity(key);
        session.auth().verify(60000);
        System.out.print(session.executeRemoteCommand("id -un"));
      }
    }
  }
}
