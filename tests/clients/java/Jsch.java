import com.jcraft.jsch.ChannelExec;
import com.jcraft.jsch.JSch;
import com.jcraft.jsch.Session;
import com.jcraft.jsch.UIKeyboardInteractive;
import com.jcraft.jsch.UserInfo;
import java.io.ByteArrayInputStream;
import java.util.Arrays;

/** A login as programs do it that use JSch: see tests/clients/test_libraries.py. */
public class Jsch {
  record Answers(String code) implements UserInfo, UIKeyboardInteractive {
    public String[] promptKeyboardInteractive(
        String to, String name, String text, String[] prompts, boolean[] echo) {
      String[] answers = new String[prompts.length];
      Arrays.fill(answers, code);
      return answers;
    }

    public String getPassphrase() {
      return null;
    }

    public String getPassword() {
      return null;
    }

    public boolean promptPassword(String text) {
      return false;
    }

    public boolean promptPassphrase(String text) {
      return false;
    }

    public boolean promptYesNo(String text) {
      return false;
    }

    public void showMessage(String text) {}
  }

  public static void main(String[] ignored) throws Exception {
    var given = System.getenv();
    var jsch = new JSch();
    jsch.addIdentity(given.get("KEY"), given.get("CERTIFICATE"), null);
    var known = "[" + given.get("HOST") + "]:" + given.get("PORT") + " " + given.get("HOST_KEY");
    jsch.setKnownHosts(new ByteArrayInputStream((known + "\n").getBytes()));
    int port = Integer.parseInt(given.get("PORT"));
    Session session = jsch.getSession(given.get("LOGIN"), given.get("HOST"), port);
    session.setUserInfo(new Answers(given.get("CODE")));
    session.connect(60000);
    var channel = (ChannelExec) session.openChannel("exec");
    channel.setCommand("id -un");
    var out = channel.getInputStream();
    channel.connect(60000);
    out.transferTo(System.out);
    session.disconnect();
  }
}
